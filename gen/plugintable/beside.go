package main

import "go/types"

// What a package may have beside New: the functions Commands and Flags, which the table calls where they are. Neither name is
// free for anything else: a function that is nearly right would be left out of the program without a word.

// commandsForm is what the table calls, where there is one.
const commandsForm = "func Commands() []plugins.Command"

// checkCommands checks the form of Commands, where there is one.
func (s *survey) checkCommands(p *plugin) {
	if p.pkg == nil || p.pkg.Types == nil {
		return
	}
	switch obj := p.pkg.Types.Scope().Lookup("Commands").(type) {
	case nil:
		s.checkNoCommands(p)
	case *types.Func:
		p.commands = s.checkCommandsFunc(obj)
	default:
		s.report(obj.Pos(), "Commands is %s; make it a function, %s, or give it another name", kind(obj), commandsForm)
	}
}

// checkCommandsFunc reports what is wrong with the function Commands of a plugin, and whether nothing is.
func (s *survey) checkCommandsFunc(f *types.Func) bool {
	sig := f.Signature()
	results := sig.Results()
	switch {
	case sig.TypeParams().Len() > 0:
		s.report(sig.TypeParams().At(0).Obj().Pos(), "Commands has type parameters, which nobody could choose; remove them")
	case sig.Params().Len() > 0:
		s.report(sig.Params().At(0).Pos(), "Commands takes something, and a command runs without a server; make it %s", commandsForm)
	case results.Len() == 0:
		s.report(f.Pos(), "Commands returns nothing; make it %s, or give it another name", commandsForm)
	case results.Len() > 1:
		s.report(results.At(1).Pos(), "Commands returns %d values; make it %s, and do in Run of a command what can fail",
			results.Len(), commandsForm)
	case !types.Identical(results.At(0).Type(), s.commands()) && !broken(results.At(0).Type()):
		s.report(results.At(0).Pos(), "Commands returns %s; make it %s, or give it another name", typeName(results.At(0).Type()), commandsForm)
	default:
		return true
	}
	return false
}

// checkNoCommands reports a method that somebody took for the function Commands.
func (s *survey) checkNoCommands(p *plugin) {
	if p.result == nil {
		return
	}
	has, _, _ := types.LookupFieldOrMethod(p.result, true, p.pkg.Types, "Commands")
	f, ok := has.(*types.Func)
	if !ok || f.Pkg() != p.pkg.Types {
		return
	}
	if results := f.Signature().Results(); results.Len() == 1 && types.Identical(results.At(0).Type(), s.commands()) {
		s.report(f.Pos(), "Commands is a method, and a command runs without the plugin's service; make it a function, %s", commandsForm)
	}
}

// commands is the type []plugins.Command.
func (s *survey) commands() types.Type {
	return types.NewSlice(s.src.contract.Types.Scope().Lookup("Command").Type())
}

// flagsForm is what the table calls, where there is one. What it returns has a name of the plugin's choice.
const flagsForm = "func Flags(f *plugins.Flags) *Settings"

// checkFlags checks the form of Flags, where there is one.
func (s *survey) checkFlags(p *plugin) {
	if p.pkg == nil || p.pkg.Types == nil {
		return
	}
	switch obj := p.pkg.Types.Scope().Lookup("Flags").(type) {
	case nil:
		s.checkNoFlags(p)
	case *types.Func:
		p.flags = s.checkFlagsTakes(obj) && s.checkFlagsReturns(p, obj)
	default:
		s.report(obj.Pos(), "Flags is %s; make it a function, %s, or give it another name", kind(obj), flagsForm)
	}
}

// checkFlagsTakes reports what is wrong with what Flags takes, and whether nothing is.
func (s *survey) checkFlagsTakes(f *types.Func) bool {
	sig := f.Signature()
	params := sig.Params()
	switch {
	case sig.TypeParams().Len() > 0:
		s.report(sig.TypeParams().At(0).Obj().Pos(), "Flags has type parameters, which nobody could choose; remove them")
	case params.Len() == 0:
		s.report(f.Pos(), "Flags takes nothing to declare flags with; make it %s, or give it another name", flagsForm)
	case params.Len() > 1:
		s.report(params.At(1).Pos(), "Flags takes %d values, and there is only the command line; make it %s", params.Len(), flagsForm)
	case sig.Variadic():
		s.report(params.At(0).Pos(), "Flags takes any number of values; make it %s", flagsForm)
	case !types.Identical(params.At(0).Type(), s.flags()) && !broken(params.At(0).Type()):
		s.report(params.At(0).Pos(), "Flags takes %s; make it %s, or give it another name", typeName(params.At(0).Type()), flagsForm)
	default:
		return true
	}
	return false
}

// checkFlagsReturns reports what is wrong with what Flags returns, and whether nothing is. It is a pointer, because the values
// are set after Flags has returned, and to a type of the plugin, so that no other plugin's New takes it for its own.
func (s *survey) checkFlagsReturns(p *plugin, f *types.Func) bool {
	results := f.Signature().Results()
	switch {
	case results.Len() == 0:
		s.report(f.Pos(), "Flags returns nothing that New could be given; make it %s, or give it another name", flagsForm)
		return false
	case results.Len() > 1:
		s.report(results.At(1).Pos(), "Flags returns %d values; make it %s, and say with f.Check what is wrong with the values together",
			results.Len(), flagsForm)
		return false
	}
	t, pos := results.At(0).Type(), results.At(0).Pos()
	if broken(t) {
		return true
	}
	ptr, ok := types.Unalias(t).(*types.Pointer)
	if !ok {
		s.report(pos, "Flags returns %s, and the values are set after it has returned; make it return a pointer to a type of package %s",
			typeName(t), p.pkg.Name)
		return false
	}
	elem := types.Unalias(ptr.Elem())
	if named, ok := elem.(*types.Named); !ok || named.Obj().Pkg() != p.pkg.Types {
		s.report(pos, "Flags returns *%s; make it return a pointer to a type that package %s declares", typeName(elem), p.pkg.Name)
		return false
	}
	return true
}

// checkNoFlags reports a method that somebody took for the function Flags.
func (s *survey) checkNoFlags(p *plugin) {
	if p.result == nil {
		return
	}
	has, _, _ := types.LookupFieldOrMethod(p.result, true, p.pkg.Types, "Flags")
	f, ok := has.(*types.Func)
	if !ok || f.Pkg() != p.pkg.Types {
		return
	}
	if params := f.Signature().Params(); params.Len() == 1 && types.Identical(params.At(0).Type(), s.flags()) {
		s.report(f.Pos(), "Flags is a method, and the command line is read before there is a plugin; make it a function, %s", flagsForm)
	}
}

// flags is the type *plugins.Flags.
func (s *survey) flags() types.Type {
	return types.NewPointer(s.src.contract.Types.Scope().Lookup("Flags").Type())
}
