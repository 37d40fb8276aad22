"""Regular expressions over streams, in linear time: syntax, parser, program, automaton."""
