"""What a batch came to: `totals` folds outcomes in constant memory, `summary` renders them for a terminal."""
