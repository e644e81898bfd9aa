import Host

print("hotaru")
