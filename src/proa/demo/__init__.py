"""`proa demo`: real flights, two regions, one of them lost, and the proof that nothing else was."""




