"""Known pairs: runs estimators on pairs of images whose mutual information is known."""
