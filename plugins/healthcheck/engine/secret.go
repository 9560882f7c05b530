package engine

import "strings"

// IsSecret reports whether a field or a header of a configuration holds a secret, by its name: password, token, apiKey,
// Authorization. So a check type, also one of another plugin, has nothing to do for its secrets but to call them so.
// What is secret is stored sealed and never shown. Case, dashes and underscores do not matter.
func IsSecret(name string) bool {
	plain := strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(name))
	if plain == "key" || plain == "cookie" || plain == "auth" {
		return true
	}
	for _, word := range []string{"password", "passwd", "passphrase", "secret", "token", "authorization", "apikey", "privatekey", "credential", "signature"} {
		if strings.Contains(plain, word) {
			return true
		}
	}
	return false
}
