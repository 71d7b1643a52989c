"""List what there is to choose from: experiments, components, plug-ins."""
