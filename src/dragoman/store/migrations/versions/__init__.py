"""One file for each step between schemas, named by the revision that it makes."""
