# The server and nothing else: one static binary, no shell, no PostgreSQL. It needs a DATABASE_URL.
#
#   docker build -t checkstack .
#   docker run -p 3000:3000 -e DATABASE_URL=postgres://user:password@host/database checkstack
#
# There is no HEALTHCHECK, because nothing in the image could make the request: let the orchestrator ask
# /.checkstack/health and /.checkstack/ready, as deploy/kubernetes.yaml does.

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# .git is part of the context, so that the binary knows its version and commit (GET /api/about).
RUN CGO_ENABLED=0 go build -trimpath -ldflags=-s -o /checkstack .

# There is nothing to run in it either, so checks of type exec need an image of yours that begins FROM this one's binary.
FROM scratch
# For checks of https targets and for a database with TLS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /checkstack /checkstack
# In numbers, so that Kubernetes can see that it is not root.
USER 65532:65532
EXPOSE 3000
ENTRYPOINT ["/checkstack"]
