"""The component ``compressor``: fits a compressor of the inputs on rows that are not recorded."""
