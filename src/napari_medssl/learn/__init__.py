"""Everything that trains or runs a network. The only room that imports torch."""
