"""What the pool costs and what it stands, measured. Run from the checkout; nothing here is installed."""
