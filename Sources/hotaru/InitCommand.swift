import Host
func initCommand(_ arguments: Arguments) -> Int32 { failure("not here yet") }
