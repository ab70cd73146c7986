"""What a push, a pull and a deletion mean, without HTTP."""
