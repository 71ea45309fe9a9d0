module aicluster.invalid/lab/minio

go 1.24.0

require (
	github.com/minio/mc v0.0.0-20250313080218-cf909e1063a9
	github.com/minio/minio v0.0.0-20260212201848-7aac2a2c5b7c
)
