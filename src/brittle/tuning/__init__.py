"""Components of the kind tuning: encoder in, more robust encoder out: the function NAME in NAME.py, imported only when
named."""
