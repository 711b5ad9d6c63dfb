"""The rules of PLACO as pure Python: no Django, no drivers, no I/O except reading the catalogue."""
