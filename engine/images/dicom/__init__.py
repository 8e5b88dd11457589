"""DICOM files: recognised, read within bounds, shown in 8 bits as a viewer shows them, and described."""
