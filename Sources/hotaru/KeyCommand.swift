import Host
func keyCommand(_ arguments: Arguments) -> Int32 { failure("not here yet") }
