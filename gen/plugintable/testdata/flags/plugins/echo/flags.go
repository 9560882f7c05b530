package echo

import contract "checkstack/plugins"

// Config is what the flags say.
type Config struct{ Times int }

// Flags declares the flags of the plugin.
func Flags(flags *contract.Flags) (config *Config) { return nil }
