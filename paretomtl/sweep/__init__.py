"""Where and in what order the points of a study are computed: here, on Ray, in rounds."""
