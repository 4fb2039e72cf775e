"""What a person sees: Dagster's and MLflow's pages, the report, the picture, in a real Chromium."""
