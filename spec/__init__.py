"""What people write and the platform offers, by types: objectives, contracts, model folders, outputs. Imports
nothing of the project.
"""
