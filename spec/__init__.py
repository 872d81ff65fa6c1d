"""What users write and what the platform offers, as types: objectives, contracts, model folders, outputs. Imports
nothing from the project.
"""
