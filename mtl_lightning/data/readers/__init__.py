"""Files and frames as blocks of Arrow rows."""
