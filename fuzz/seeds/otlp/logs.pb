
V
)

service.name
api

	host.name
h)'	Àluƒ:tê	INFO*
boom2
a
bJ