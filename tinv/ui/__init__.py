"""`tinv ui`: a page that shows the runs of a folder live and steers them. Its server does not load torch."""
