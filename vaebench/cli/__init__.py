"""The commands, one function each. A command that needs torch imports it inside the function."""
