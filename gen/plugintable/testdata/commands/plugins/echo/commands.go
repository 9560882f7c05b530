package echo

import contract "checkstack/plugins"

// Commands are the commands of the plugin.
func Commands() (commands []contract.Command) { return nil }
