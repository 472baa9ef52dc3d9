"""What a trained network looks at and where it errs, as pictures and a page."""
