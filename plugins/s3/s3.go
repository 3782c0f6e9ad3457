// Package s3 is the plugin for stores that speak S3: AWS, and the servers that are compatible with it. Sink "s3" stores files, and
// where asked the bodies of records, as objects that are written once.
//
// It is built on aws-sdk-go-v2 service/s3 alone: credentials are static, and parts are cut here, because sizes are known and so is
// every checksum before the first byte is sent. The client makes one attempt; retries are the engine's. minio-go was refused: its
// multipart path ignores If-None-Match and overwrites (measured 2026-11-22, v7.4.1).
package s3

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/url"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/weir-etl/weir/plugins/object"
	"github.com/weir-etl/weir/sdk"
)

// Plugin declares what this plugin offers.
func Plugin() sdk.Plugin {
	args := append(object.StepArgs(true), sdk.Arg{
		Name: "checksum", Type: sdk.String, Default: "sha256", OneOf: []string{"sha256", "when_required"},
		Doc: "How the server checks what it received: sha256 sends x-amz-checksum-sha256; when_required sends Content-MD5 only, for " +
			"servers that refuse the newer checksum headers. The signature covers the content either way.",
	})
	return sdk.Plugin{
		Name: "s3", Version: "0.1.0",
		Connections: []sdk.Connection{{Type: "s3", Doc: "A bucket of a store that speaks S3.", Args: connectionArgs()}},
		Components: []sdk.Component{{
			Kind: sdk.KindSink, Type: "s3", Connection: "s3",
			Doc: "Stores files and bodies as objects that are written once. Equal bytes again are a success, other bytes go to …-v2; " +
				"checksums are verified on the way in.",
			Args: args, Receipt: object.ReceiptFields(), Probes: true,
			NewSink: func() sdk.Sink { return &object.Sink{Connect: connect} },
		}},
	}
}

func connectionArgs() []sdk.Arg {
	return []sdk.Arg{
		{Name: "endpoint", Type: sdk.String, Doc: "URL of the server; left out: AWS in the region."},
		{Name: "region", Type: sdk.String, Default: "us-east-1", Doc: "Region, as the server knows it."},
		{Name: "bucket", Type: sdk.String, Required: true, Doc: "Name of the bucket."},
		{Name: "access_key_id", Type: sdk.String, Required: true, Doc: "Access key ID. It needs to get, put, delete and list objects (without " +
			"list AWS answers 403 for a key that is not there) and to list and abort multipart uploads."},
		{Name: "access_key_secret", Type: sdk.String, Required: true, Secret: true, Doc: "Secret access key."},
		{Name: "security_token", Type: sdk.String, Secret: true, Doc: "Session token, for temporary credentials."},
		{Name: "path_style", Type: sdk.Bool, Default: false, Doc: "Address the bucket in the path; always so where the endpoint is an IP address."},
		{Name: "proxy", Type: sdk.String, Doc: "URL of an HTTP proxy, with user and password if need be."},
		{Name: "ca", Type: sdk.String, Doc: "Certificates to trust instead of the system's: PEM, or the path of a PEM file."},
		{Name: "silence", Type: sdk.Dur, Default: "60s", Doc: "Longest time in which no byte moves."},
	}
}

type connection struct {
	Endpoint        string       `json:"endpoint"`
	Region          string       `json:"region"`
	Bucket          string       `json:"bucket"`
	AccessKeyID     sdk.Secret   `json:"access_key_id"`
	AccessKeySecret sdk.Secret   `json:"access_key_secret"`
	SecurityToken   sdk.Secret   `json:"security_token"`
	PathStyle       bool         `json:"path_style"`
	Proxy           sdk.Secret   `json:"proxy"`
	CA              sdk.Secret   `json:"ca"`
	Silence         sdk.Duration `json:"silence"`
}

func connect(env *sdk.Env, step object.Step) (object.Store, error) {
	var c connection
	if err := env.DecodeConnection(&c); err != nil {
		return nil, err
	}
	c.Region = cmp.Or(c.Region, "us-east-1")
	c.Endpoint = cmp.Or(c.Endpoint, "https://s3."+c.Region+".amazonaws.com")
	base, err := url.Parse(c.Endpoint)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, errors.New("connection: endpoint is not a URL such as https://s3.eu-central-1.amazonaws.com")
	}
	web, err := object.Transport{Proxy: c.Proxy, CA: c.CA, Silence: c.Silence.Std()}.Client()
	if err != nil {
		return nil, err
	}
	pathStyle := c.PathStyle || net.ParseIP(base.Hostname()) != nil
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(c.Endpoint),
		Region:       c.Region,
		UsePathStyle: pathStyle,
		HTTPClient:   web,
		Retryer:      aws.NopRetryer{},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{
				AccessKeyID: c.AccessKeyID.Reveal(), SecretAccessKey: c.AccessKeySecret.Reveal(), SessionToken: c.SecurityToken.Reveal(),
			}, nil
		}),
		// Checksums are given by hand; the client must not add its own, which some servers refuse.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
	if pathStyle {
		base = base.JoinPath(c.Bucket)
	} else {
		base.Host = c.Bucket + "." + base.Host
	}
	return &store{client: client, bucket: c.Bucket, base: base, sha256: step.Checksum != "when_required"}, nil
}
