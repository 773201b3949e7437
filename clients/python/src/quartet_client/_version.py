"""The package's version: that of the Quartet release whose protocol it was built from."""

VERSION = "0.1.0"
