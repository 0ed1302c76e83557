"""Components of the kind datasets: where pictures and targets come from: the function NAME in NAME.py, imported only when named."""
