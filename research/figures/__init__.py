"""Pictures for papers and pages."""
