"""Components of the kind datasets: where images and targets come from: the function NAME in NAME.py, imported only when
named."""
