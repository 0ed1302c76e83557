"""Components of the kind tasks: head, loss and score of what is predicted: the function NAME in NAME.py, imported only
when named."""
