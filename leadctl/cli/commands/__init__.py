"""One short file per command: arguments in, one operation, its result out."""
