"""Components of the kind reports: results as text: the function NAME in NAME.py, imported only when named."""
