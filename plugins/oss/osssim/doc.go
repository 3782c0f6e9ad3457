// Package osssim is a strict simulator of Aliyun OSS (object storage) over
// HTTP on the loopback interface, for tests and for the sandbox.
//
// Start it, point an OSS client at Server.URL, look at what arrived with
// Server.Objects and Server.Counts, and break it at run time with
// Server.Inject and Server.Refuse. It is never kinder than the service: a
// request that the service refuses is refused here with the same status and
// code, and an operation, header or parameter that the simulator does not know
// is answered 501 NotImplemented rather than ignored.
//
// What each part imitates (pages below https://help.aliyun.com/zh/oss/, English
// editions below https://www.alibabacloud.com/help/en/oss/):
//
//	signature V1           developer-reference/include-signatures-in-the-authorization-header
//	signature V4           developer-reference/recommend-to-use-signature-version-4
//	error answers          developer-reference/error-responses; the EC numbers have a page each,
//	                       support/0002-00000504 and so on
//	PutObject              developer-reference/putobject
//	GetObject, HeadObject  developer-reference/getobject, …/headobject
//	DeleteObject(s)        developer-reference/deleteobject, …/deletemultipleobjects
//	GetBucket (list)       developer-reference/listobjects, …/listobjectsv2
//	GetBucketInfo          developer-reference/getbucketinfo
//	multipart              developer-reference/initiatemultipartupload, …/uploadpart,
//	                       …/completemultipartupload, …/abortmultipartupload,
//	                       …/listparts, …/listmultipartuploads
//	retention (WORM)       user-guide/oss-retention-policies
//	checksums              developer-reference/check-data-integrity
//
// Where the pages are silent the simulator takes the stricter reading. Known
// silences: the EC number of FileImmutable, which refusal wins when an object is
// both retained and protected by x-oss-forbid-overwrite (here FileAlreadyExists),
// and the code for user metadata above 8 KB (here InvalidArgument).
//
// Not simulated: versioning, append, copy, symlinks, tagging, signed URLs,
// restore, lifecycle and bucket administration.
package osssim
