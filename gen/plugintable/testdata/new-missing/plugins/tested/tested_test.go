package tested

func New() {}
