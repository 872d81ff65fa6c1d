"""New folders of a project, written from templates."""
