"""The pages' views: who may open it, what it shows or changes, in a few lines each."""
