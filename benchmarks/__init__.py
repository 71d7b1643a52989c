"""Measurements beside other ways to do the same; README.md says what each prints. A package, since old wheels of pyarrow bring another one."""
