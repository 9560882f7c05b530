package method

type a struct{}

// New is a method.
func (a) New() {}
