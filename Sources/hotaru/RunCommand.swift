import Host
func runCommand(_ arguments: Arguments) -> Int32 { failure("not here yet") }
