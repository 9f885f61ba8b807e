"""One short file per command: arguments in, one method of the API, its result out.

A file here is a command: it registers itself when `leadctl.cli.app` loads it.
"""
