"""The verbs: what the package does, each the body of the command of the same name."""
