"""Other libraries that search neighbours or find components on a GPU, brought to our contract; imported when asked for."""
