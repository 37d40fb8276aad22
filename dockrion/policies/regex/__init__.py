"""The linear-time regular-expression engine: parser, program, automaton. Import `patterns` instead."""
