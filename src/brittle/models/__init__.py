"""Components of the kind models: whole networks for a task: the function NAME in NAME.py, imported only when named."""
