"""Commands of the runtime, one module each."""
