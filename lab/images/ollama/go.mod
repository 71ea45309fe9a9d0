module aicluster.invalid/lab/ollama

go 1.26.0

require github.com/ollama/ollama v0.32.15
