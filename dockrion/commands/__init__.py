"""The commands that work on a Dockfile, each in a module of its own.

`dockrion.cli` imports the one that is used: a server does without the memory of the others. They may import
whatever they need, and nothing imports them.
"""
